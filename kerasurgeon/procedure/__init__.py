"""The shunt procedure as a whole: ten steps, a run folder, resumable."""
