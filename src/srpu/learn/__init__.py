"""How weights change and are judged."""
