"""Messages: conversations, rooms, and the sockets over which they come at once."""
