{{- define "meshbridge.pod" -}}
serviceAccountName: {{ include "meshbridge.name" . }}
automountServiceAccountToken: {{ include "meshbridge.writes" . }}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- if .Values.topologySpread.enabled }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ .Values.topologySpread.topologyKey | quote }}
    whenUnsatisfiable: {{ .Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels: {{- include "meshbridge.selector" . | nindent 8 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: meshbridge
    image: {{ include "meshbridge.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args: [run, -c, /etc/meshbridge/config/meshbridge.yaml]
    env:
      - name: MESHBRIDGE_ADMIN
        value: unix:///run/meshbridge/admin.sock
      {{- with .Values.env }}{{ toYaml . | nindent 6 }}{{ end }}
    ports:
      - name: mcp
        containerPort: {{ include "meshbridge.port" .Values.config.outputs.mcp.listen }}
      - name: admin
        containerPort: {{ include "meshbridge.port" .Values.config.admin.listen }}
    # Alive is not ready: a bridge that waits for a registry must not be restarted.
    livenessProbe:
      httpGet: {path: /healthz, port: admin, scheme: {{ ternary "HTTPS" "HTTP" (ne .Values.admin.tlsSecret "") }}}
      initialDelaySeconds: 10
      timeoutSeconds: 3
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /readyz, port: admin, scheme: {{ ternary "HTTPS" "HTTP" (ne .Values.admin.tlsSecret "") }}}
      periodSeconds: 2
      timeoutSeconds: 3
    resources: {{- toYaml .Values.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    volumeMounts:
      - {name: config, mountPath: /etc/meshbridge/config, readOnly: true}
      - {name: vms, mountPath: /etc/meshbridge/vms, readOnly: true}
      - {name: admin-token, mountPath: /etc/meshbridge/admin, readOnly: true}
      - {name: run, mountPath: /run/meshbridge}
      - {name: state, mountPath: /var/lib/meshbridge}
      {{- if .Values.mcp.tlsSecret }}
      - {name: mcp-tls, mountPath: /etc/meshbridge/tls/mcp, readOnly: true}
      {{- end }}
      {{- if .Values.admin.tlsSecret }}
      - {name: admin-tls, mountPath: /etc/meshbridge/tls/admin, readOnly: true}
      {{- end }}
      {{- range $index, $mount := .Values.secretMounts }}
      - {name: secret-{{ $index }}, mountPath: {{ $mount.path | quote }}, readOnly: true}
      {{- end }}
volumes:
  - name: config
    configMap: {name: {{ include "meshbridge.name" . }}}
  - name: vms
    configMap: {name: {{ include "meshbridge.name" . }}-vms}
  - name: admin-token
    secret: {secretName: {{ .Values.admin.tokenSecret | quote }}}
  - name: run
    emptyDir: {}
  {{- if not .Values.state.persistent }}
  - name: state
    emptyDir: {}
  {{- end }}
  {{- with .Values.mcp.tlsSecret }}
  - name: mcp-tls
    secret: {secretName: {{ . | quote }}}
  {{- end }}
  {{- with .Values.admin.tlsSecret }}
  - name: admin-tls
    secret: {secretName: {{ . | quote }}}
  {{- end }}
  {{- range $index, $mount := .Values.secretMounts }}
  - name: secret-{{ $index }}
    secret: {secretName: {{ $mount.secret | quote }}}
  {{- end }}
{{- end }}
