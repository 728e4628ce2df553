"""The lab's images: references mapped to programs that come with Tortie or with the host."""
