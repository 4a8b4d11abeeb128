"""What the processes of one machine share: clock, log, rate budget, leases."""
