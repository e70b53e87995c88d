"""``python -m bench.messages``: Teahouse's WebSockets against those that Go and Node programmers would write or run."""
