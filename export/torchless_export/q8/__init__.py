"""The q8 variant: 8-bit integers whose answers depend on no neighbour."""
