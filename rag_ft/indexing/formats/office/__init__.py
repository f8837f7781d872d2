"""What the formats of office programs share: the container and its parts."""
