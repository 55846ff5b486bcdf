{{/* Names, labels and small conversions that several objects share. */}}

{{- define "undercurrent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "undercurrent.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "undercurrent.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The three services: key in the values, name, ports. */}}
{{- define "undercurrent.components" -}}
- {key: gateway, name: gateway, port: 8443, portName: https, metricsPort: 9443}
- {key: graphBuilder, name: graph-builder, port: 8081, portName: http, metricsPort: 9081}
- {key: anomalyPropagation, name: anomaly-propagation, port: 8082, portName: http, metricsPort: 9082}
{{- end -}}

{{/* What an object is found by: (dict "root" $ "component" "gateway"). */}}
{{- define "undercurrent.selector" -}}
app.kubernetes.io/name: {{ include "undercurrent.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "undercurrent.labels" -}}
{{ include "undercurrent.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: undercurrent
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The image of a service: (dict "root" $ "name" "gateway" "digest" ""). */}}
{{- define "undercurrent.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := printf "%s/%s/%s:%s" $image.registry $image.repository .name (default .root.Chart.AppVersion $image.tag) -}}
{{- if .digest }}{{ printf "%s@%s" $name .digest }}{{ else }}{{ $name }}{{ end -}}
{{- end -}}

{{/* Whether to make objects of the Prometheus operator: (dict "root" $ "enabled" true). Not empty: yes. */}}
{{- define "undercurrent.operated" -}}
{{- if eq (toString .enabled) "auto" -}}
{{- if .root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}yes{{ end -}}
{{- else if .enabled }}yes{{ end -}}
{{- end -}}

{{/* A number without exponent: 1073741824, not 1.073741824e+09. */}}
{{- define "undercurrent.number" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}
