"""The command lines: `tortie`, and the tools named after what they replace."""
