"""The HTTP kernel: routing, binding, requests and responses, limits, the access log, OpenAPI, a test client."""
