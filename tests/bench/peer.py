"""What a peer does with the same resources: run by pyinfra, not by dynoctl. 18 resources on each server."""

from pyinfra.operations import files, server, systemd

for number in (1, 2, 3, 4):
    name = f"peer-web-{number}"
    server.user(
        name=f"user {name}", user=name, home="/nonexistent", shell="/usr/sbin/nologin", system=True, create_home=False
    )
    files.put(name=f"env {name}", src="env", dest=f"/etc/peer-{number}.env", user="root", group="root", mode="600")
    files.put(name=f"unit {name}", src=f"{name}.service", dest=f"/etc/systemd/system/{name}.service", mode="644")
    systemd.service(name=f"service {name}", service=f"{name}.service", running=True, enabled=True)
files.put(name="slug", src="slug", dest="/var/lib/peer.squashfs", user="root", group="root", mode="600")
files.put(name="rackup", src="rackup", dest="/var/lib/peer.ru", user="root", group="root", mode="444")
