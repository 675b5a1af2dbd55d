"""The ground: nothing of ours lies below, and nothing here knows of networks or papers."""
