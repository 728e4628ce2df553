"""The outside world of a lab: name, web and echo servers on documentation addresses."""
