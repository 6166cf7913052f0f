"""The server ``data``: PostgreSQL, MariaDB, Redis and memcached for apps, on the network of the lab."""

from __future__ import annotations

from pathlib import Path

from infra.errors import DynoctlError
from infra.lab import server
from infra.lab.state import DATA, LabState

_UNITS = ("postgresql.service", "mariadb.service", "redis-server.service", "memcached.service")


def configure(lab: LabState, root: Path) -> None:
    """Write the configuration of the services to the server's filesystem before it boots."""
    wants = root / "etc/systemd/system/multi-user.target.wants"
    for unit in _UNITS:
        link = wants / unit
        if not link.is_symlink():
            link.symlink_to(f"/lib/systemd/system/{unit}")
    for cluster in (root / "etc/postgresql").glob("*/main"):
        (cluster / "conf.d/lab.conf").write_text("listen_addresses = '*'\nfsync = off\n")
        rules = cluster / "pg_hba.conf"
        rule = f"host all all 10.77.{lab.subnet}.0/24 scram-sha-256\n"
        text = rules.read_text()
        if rule not in text:
            rules.write_text(text + rule)
    # Little memory, and no DNS lookups of clients: the lab has no DNS.
    (root / "etc/mysql/mariadb.conf.d/99-lab.cnf").write_text(
        "[mysqld]\nbind-address = 0.0.0.0\nskip-name-resolve\nperformance_schema = off\n"
        "innodb_buffer_pool_size = 16M\ninnodb_flush_log_at_trx_commit = 0\n"
    )
    (root / "etc/memcached.conf").write_text("-l 0.0.0.0\n-m 32\n-p 11211\n-u memcache\n")


def prepare(lab: LabState) -> None:
    """Create the users and databases when the server is up. Raises DynoctlError if that fails."""
    script = f"""\
SELECT 'CREATE ROLE shop LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shop') \\gexec
ALTER ROLE shop PASSWORD '{lab.password}';
SELECT 'CREATE DATABASE shop OWNER shop' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'shop') \\gexec
"""  # noqa: S608  # the password is a generated token of letters and digits
    argv = ["runuser", "-u", "postgres", "--", "psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1"]
    done = server.execute(lab, DATA, argv, stdin=script)
    if done.returncode != 0:
        raise DynoctlError("cannot create the PostgreSQL database of the lab", done.stderr.strip())
    script = f"""\
CREATE DATABASE IF NOT EXISTS shop;
CREATE USER IF NOT EXISTS shop@'%' IDENTIFIED BY '{lab.password}';
ALTER USER shop@'%' IDENTIFIED BY '{lab.password}';
GRANT ALL ON shop.* TO shop@'%';
"""
    done = server.execute(lab, DATA, ["mariadb", "--batch"], stdin=script)
    if done.returncode != 0:
        raise DynoctlError("cannot create the MariaDB database of the lab", done.stderr.strip())


def urls(lab: LabState) -> dict[str, str]:
    """The URLs of the services, by the file name that a dyno.yaml uses with ``from_file``."""
    host = lab.address(DATA)
    return {
        "database_url": f"postgresql://shop:{lab.password}@{host}/shop",
        "mysql_url": f"mysql2://shop:{lab.password}@{host}/shop",
        "cache_url": f"redis://{host}:6379/0",
        "memcached": f"memcached://{host}:11211",
    }
