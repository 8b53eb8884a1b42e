"""How a stage runs: devices, GPU leases, progress and requests to stop."""
