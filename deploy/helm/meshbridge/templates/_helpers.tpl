{{- define "meshbridge.name" -}}
{{- if contains "meshbridge" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-meshbridge" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "meshbridge.selector" -}}
app.kubernetes.io/name: meshbridge
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "meshbridge.labels" -}}
{{ include "meshbridge.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "meshbridge.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* The port of a HOST:PORT in the configuration. */ -}}
{{- define "meshbridge.port" -}}
{{ regexFind "[0-9]+$" . }}
{{- end }}

{{- /* The configuration, with the certificates that the values name. */ -}}
{{- define "meshbridge.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if .Values.mcp.tlsSecret }}
{{- $_ := set $config.outputs.mcp "tls" (dict "cert_file" "/etc/meshbridge/tls/mcp/tls.crt" "key_file" "/etc/meshbridge/tls/mcp/tls.key") }}
{{- $_ := unset $config.outputs.mcp "plaintext" }}
{{- end }}
{{- if .Values.admin.tlsSecret }}
{{- $_ := set $config.admin "tls" (dict "cert_file" "/etc/meshbridge/tls/admin/tls.crt" "key_file" "/etc/meshbridge/tls/admin/tls.key") }}
{{- end }}
{{- if not (dig "safety" "peers" false $config) }}
{{- $scheme := ternary "https" "http" (ne .Values.admin.tlsSecret "") }}
{{- $peers := dict "urls" (list (printf "%s://%s-peers:16080" $scheme (include "meshbridge.name" .))) "token_file" $config.admin.token_file }}
{{- if .Values.admin.tlsSecret }}
{{- $_ := set $peers "ca_file" "/etc/meshbridge/tls/admin/ca.crt" }}
{{- end }}
{{- $_ := set $config "safety" (merge (dict "peers" $peers) (default dict $config.safety)) }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- /* "true" when the bridge writes to the Kubernetes API. */ -}}
{{- define "meshbridge.writes" -}}
{{ dig "kubernetes" "enabled" false .Values.config.outputs }}
{{- end }}
