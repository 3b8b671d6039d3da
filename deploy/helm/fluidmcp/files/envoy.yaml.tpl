static_resources:
  listeners:
    - address: {socket_address: {address: 0.0.0.0, port_value: 8080}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: fluidmcp
                # Whose address counts: that of the connection, at the right end of X-Forwarded-For.
                use_remote_address: true
                # Event streams may be silent for as long as a call takes.
                stream_idle_timeout: 3600s
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
                route_config:
                  virtual_hosts:
                    - name: fluidmcp
                      domains: ["*"]
                      # Nothing was sent yet where a connection failed: another gateway may be tried. No other retries,
                      # because a call must not be made twice.
                      retry_policy:
                        retry_on: connect-failure
                        num_retries: 2
                        host_selection_retry_max_attempts: 10
                        retry_host_predicate:
                          - name: envoy.retry_host_predicates.previous_hosts
                            typed_config:
                              "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
                        retry_priority:
                          name: envoy.retry_priorities.previous_priorities
                          typed_config:
                            "@type": type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig
                            update_frequency: 1
                      routes:
                        # A session goes to its gateway: its id begins with the name.
                        {{- range $number := until .most }}
                        - match: {prefix: /, headers: [{name: mcp-session-id, string_match: {prefix: {{ $.name }}-{{ $number }}.}}]}
                          route: {cluster: {{ $.name }}-{{ $number }}, timeout: 0s}
                        - match: {prefix: /, query_parameters: [{name: sessionId, string_match: {prefix: {{ $.name }}-{{ $number }}.}}]}
                          route: {cluster: {{ $.name }}-{{ $number }}, timeout: 0s}
                        {{- end }}
                        # What comes with one token goes to one gateway; what has no token, anywhere.
                        - match: {prefix: /}
                          route:
                            cluster: gateways
                            timeout: 0s
                            hash_policy: [{header: {header_name: authorization}}]
  clusters:
    - name: gateways
      type: STRICT_DNS
      dns_lookup_family: V4_PREFERRED
      dns_refresh_rate: 2s
      respect_dns_ttl: false
      lb_policy: RING_HASH
      connect_timeout: 2s
      common_lb_config: {healthy_panic_threshold: {value: 0}}
      # Streams are connections of their own; the gateways have limits themselves.
      circuit_breakers:
        thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]
      health_checks:
        - timeout: 2s
          interval: 2s
          no_traffic_interval: 2s
          unhealthy_threshold: 1
          healthy_threshold: 1
          http_health_check: {path: /ready, host: localhost}
      load_assignment:
        cluster_name: gateways
        endpoints:
          - priority: 0
            lb_endpoints:
              - endpoint: {address: {socket_address: {address: {{ .pods }}, port_value: 8099}}}
    # While a gateway is away its sessions go to another one, whose 404 makes the client begin anew.
    {{- range $number := until .most }}
    - name: {{ $.name }}-{{ $number }}
      type: STRICT_DNS
      dns_lookup_family: V4_PREFERRED
      dns_refresh_rate: 2s
      respect_dns_ttl: false
      lb_policy: ROUND_ROBIN
      connect_timeout: 2s
      common_lb_config: {healthy_panic_threshold: {value: 0}}
      circuit_breakers:
        thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]
      health_checks:
        - timeout: 2s
          interval: 2s
          no_traffic_interval: 2s
          unhealthy_threshold: 1
          healthy_threshold: 1
          http_health_check: {path: /ready, host: localhost}
      load_assignment:
        cluster_name: {{ $.name }}-{{ $number }}
        endpoints:
          - priority: 0
            lb_endpoints:
              - endpoint: {address: {socket_address: {address: {{ $.name }}-{{ $number }}.{{ $.pods }}, port_value: 8099}}}
          - priority: 1
            lb_endpoints:
              - endpoint: {address: {socket_address: {address: {{ $.pods }}, port_value: 8099}}}
    {{- end }}
