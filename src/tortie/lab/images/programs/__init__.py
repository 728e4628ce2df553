"""The lab's container programs: plain standard library, started with `python3 -I -S`, small enough for a hundred pods."""
