"""Storage that outlives a restart: ``-s persistent,DIRECTORY,SIZE`` (docs/storage.md)."""
