"""OpenAPI documents: version 2 (JSON and protobuf) and version 3, made from the registry's schemas."""
