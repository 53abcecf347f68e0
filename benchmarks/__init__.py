"""Speed, measured against other libraries on the same machine in the same run."""
