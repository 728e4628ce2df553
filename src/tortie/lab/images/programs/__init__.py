"""The lab's container programs: plain standard library, light enough for a hundred pods."""
