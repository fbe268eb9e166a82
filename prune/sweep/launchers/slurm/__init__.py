"""The Slurm launcher: a job a cell through submitit, followed until the last has ended."""
