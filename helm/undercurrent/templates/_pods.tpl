{{/* What every pod and container of ours has. */}}

{{- define "undercurrent.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "undercurrent.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 10001
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* The file with DATABASE_URL, and the authority beside it. */}}
{{- define "undercurrent.databaseVolume" -}}
- name: database
  secret:
    secretName: {{ .Values.database.existingSecret }}
    defaultMode: 0440
{{- end -}}

{{/* Environment of commands that need only the database: (dict "root" $). */}}
{{- define "undercurrent.databaseEnvironment" -}}
- name: DATABASE_URL_FILE
  value: /etc/undercurrent/database/{{ .root.Values.database.urlKey }}
- name: DATABASE_POOL_MIN
  value: "0"
- name: LOG_LEVEL
  value: {{ .root.Values.logLevel }}
- name: LOG_FORMAT
  value: json
{{- end -}}

{{/* The settings file of a service: (dict "root" $ "component" $component). Values of the chart first, then the free ones. */}}
{{- define "undercurrent.settings" -}}
{{- $values := index .root.Values .component.key -}}
HTTP_HOST: 0.0.0.0
HTTP_PORT: {{ .component.port }}
METRICS_HOST: 0.0.0.0
METRICS_PORT: {{ .component.metricsPort }}
DATABASE_URL_FILE: /etc/undercurrent/database/{{ .root.Values.database.urlKey }}
DATABASE_POOL_MIN: {{ .root.Values.database.poolMin }}
DATABASE_POOL_MAX: {{ .root.Values.database.poolMax }}
QUERY_TIMEOUT_MS: {{ include "undercurrent.number" .root.Values.database.queryTimeoutMs }}
CALLER_TOKEN_SECRET_FILE: /etc/undercurrent/caller-token/{{ .root.Values.callerToken.key }}
SHUTDOWN_DRAIN_SECONDS: {{ .root.Values.shutdown.drainSeconds }}
SHUTDOWN_GRACE_SECONDS: {{ .root.Values.shutdown.graceSeconds }}
LOG_LEVEL: {{ .root.Values.logLevel }}
LOG_FORMAT: json
{{- with .root.Values.tracing.endpoint }}
OTLP_ENDPOINT: {{ . }}
{{- end }}
TRACE_SAMPLE_RATIO: {{ .root.Values.tracing.sampleRatio }}
{{- if eq .component.key "gateway" }}
{{- $name := include "undercurrent.fullname" .root }}
TLS_CERTIFICATE_FILE: /etc/undercurrent/tls/tls.crt
TLS_KEY_FILE: /etc/undercurrent/tls/tls.key
{{- if $values.tls.clientAuthoritySecret }}
TLS_CLIENT_AUTHORITY_FILE: /etc/undercurrent/client-authority/ca.crt
{{- end }}
UPSTREAM_GRAPH_BUILDER: dns+http://{{ $name }}-graph-builder:8081
UPSTREAM_ANOMALY_PROPAGATION: dns+http://{{ $name }}-anomaly-propagation:8082
{{- with $values.jwt }}
{{- if .issuer }}
JWT_ISSUER: {{ .issuer | quote }}
JWT_AUDIENCE: {{ .audience | quote }}
{{- if .jwksUrl }}
JWKS_URL: {{ .jwksUrl }}
{{- else }}
JWKS_FILE: /etc/undercurrent/jwks/jwks.json
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $value := $values.settings }}
{{ $name }}: {{ include "undercurrent.number" $value | quote }}
{{- end }}
{{- end -}}
