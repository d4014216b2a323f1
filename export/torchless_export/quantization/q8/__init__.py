"""The q8 variant of encoders: 8-bit integers, and answers that do not depend on the batch."""
