"""OpenTelemetry; needs the extra `otel`."""
