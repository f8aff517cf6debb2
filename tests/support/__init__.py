"""Real parts for the tests: the service as a child process, DCMTK and pynetdicom as peers, objects on disk."""
