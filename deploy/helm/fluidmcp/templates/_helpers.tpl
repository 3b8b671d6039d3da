{{- define "fluidmcp.name" -}}
{{- if contains "fluidmcp" .Release.Name }}{{ .Release.Name | trunc 29 | trimSuffix "-" }}
{{- else }}{{ printf "%s-fluidmcp" (.Release.Name | trunc 20 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "fluidmcp.selector" -}}
app.kubernetes.io/name: fluidmcp
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fluidmcp.labels" -}}
{{ include "fluidmcp.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* The service that gives each gateway a name in DNS. */ -}}
{{- define "fluidmcp.pods" -}}
{{ include "fluidmcp.name" . }}-pods.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{- /* As many gateways as there can be: each needs its route, also before it is there. */ -}}
{{- define "fluidmcp.most" -}}
{{- if .Values.autoscaling.enabled }}{{ max .Values.replicas .Values.autoscaling.maxReplicas }}
{{- else }}{{ .Values.replicas }}{{ end }}
{{- end }}

{{- /* The level "restricted" of the pod security standards; isolation of servers works in it, by Landlock. */ -}}
{{- define "fluidmcp.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "fluidmcp.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
