"""What runs: applications, their processes, what follows an end. Knows the store by the trees that it lends."""
