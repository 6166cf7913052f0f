"""A fleet of real servers on this machine: systemd, sshd and a filesystem of its own each."""
