"""How a stage runs: device, GPU leases, progress bars, requests to stop."""
