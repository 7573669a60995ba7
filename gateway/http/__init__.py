"""HTTP as the gateway serves it, whatever is asked for: nothing here knows an SDK.

Listeners and TLS, who a client is, what a body may cost in bytes and time, and how answers are
written.
"""
