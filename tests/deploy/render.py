"""Renders the chart by Helm's own engine, in the environment of deploy-tools: values as JSON in, manifests as JSON out.

`python -I render.py CHART` prints `{"manifests": {path: text}, "lint": {...}}`, or `{"error": text}`.
"""
# pyright: basic, reportMissingImports=false

import json
import sys

import helm_python


def main() -> None:
    chart, values = sys.argv[1], json.load(sys.stdin)
    try:
        with helm_python.Chart.load(chart) as loaded:
            loaded.validate_schema(values)
            manifests = loaded.render(values=values, name="fluidmcp", namespace="mcp")
        told = {"manifests": manifests, "lint": helm_python.lint(chart, values, strict=True)}
    except helm_python.HelmError as error:
        told = {"error": str(error)}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
