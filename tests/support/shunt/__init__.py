"""What the end-to-end tests share: the daemon under test, scripted peers, clients, load, waiting."""
