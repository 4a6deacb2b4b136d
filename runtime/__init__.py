"""What every script needs of the machine it runs on: errors, devices, safe writing, provenance."""
