"""Networks that benchmarks try, none of them written for this library."""
