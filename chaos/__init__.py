"""Everything that runs: scenario, plan, controller, clients, deployments, store, report, command line."""
