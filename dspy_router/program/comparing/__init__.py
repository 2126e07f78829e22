"""What a comparison of programs is made of: programs to hold against, meters, a budget, and the running of it."""
