"""The suites: each a list of peers and inputs, `measure()`, and the tables that its figures make."""
