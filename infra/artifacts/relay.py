"""The commands with which one server gives a slug to another: a TLS server of one file, for one receiver.

It is Ruby, which every server with dynos has. The key of the certificate and the token are made for one transfer; the
receiver learns both over SSH, so nobody in between can read or change anything."""

from __future__ import annotations

import hashlib
import re
import secrets

from infra.artifacts.pull import longest
from infra.artifacts.source import Access, Source, StoreError
from infra.model import trusted_program
from infra.model.resource import Command, Upload
from infra.model.target import host_port
from infra.sensitive import Sensitive

START = 20
"""Seconds within which the server must listen."""

_READY = re.compile(r"^relay ([0-9]{1,5}) (sha256//[A-Za-z0-9+/]{43}=)$", re.MULTILINE)


def token() -> Sensitive:
    """A token for one transfer."""
    return Sensitive(secrets.token_hex(32))


SLOWEST = 4 << 20
"""Bytes in a second that the slowest disk reads, as for an upload over SSH."""


def give(image: Upload, app: str, address: str, key: Sensitive, ruby: str, *, bandwidth: int) -> Command:
    """A command that gives the image at its path to whoever has the token ``key``, on a free port of ``address``.

    What may be seen on the server is the token's sha256. ``ruby`` is the program that runs it, without privileges.
    It ends by itself once a pull with ``bandwidth`` must have ended."""
    digest = hashlib.sha256(key.reveal().encode()).hexdigest()
    seconds = longest(image, bandwidth) + START
    # systemd expands ``$NAME`` in the arguments of a unit; ``$$`` is a literal dollar sign.
    argv = (
        image.path,
        image.sha256,
        address,
        digest,
        unit(app),
        str(seconds),
        str(START),
        ruby,
        _SERVE.replace("$", "$$"),
    )
    timeout = START + 30 + image.size // SLOWEST
    return Command(("sh", "-c", _GIVE, "relay", *argv), timeout=timeout, label="relay the slug")


def given(output: str, address: str, key: Sensitive) -> Source:
    """Where another server pulls the image, from the output of ``give``. Raises StoreError."""
    found = _READY.search(output)
    if found is None or not 0 < int(found[1]) < 65536:
        raise StoreError(f"it cannot relay the slug: {output.strip()[-300:] or 'no answer'}")
    return Source(f"https://{host_port(address, int(found[1]))}/", Access(key), pin=found[2])


def close(app: str) -> Command:
    """A command that ends what ``give`` started."""
    return Command(("sh", "-c", 'systemctl stop "$1" 2>/dev/null; rm -f "/run/$1.ready"', "close", unit(app)))


def unit(app: str) -> str:
    """The name of the unit on a server."""
    return f"dynoctl-relay-{app}.service"


# systemd opens the image, which only root can read, as stdin. Port and key are told in a file, as stdout.
_GIVE = f"""{trusted_program.check()}
path=$1 sum=$2 address=$3 digest=$4 unit=$5 seconds=$6 start=$7
program=$(trusted_program "$8") || {{ echo "$8 is not run, as it $program"; exit 1; }}
[ "$(sha256sum < "$path")" = "$sum  -" ] || {{ echo 'it has another image of the slug'; exit 1; }}
ready=/run/$unit.ready
systemctl stop "$unit" 2>/dev/null
rm -f "$ready" && : > "$ready" || exit
systemd-run --quiet --collect --unit="$unit" -p DynamicUser=yes -p ProtectSystem=strict -p ProtectHome=yes \\
  -p PrivateTmp=yes -p PrivateDevices=yes -p ProtectProc=invisible -p ProtectKernelTunables=yes \\
  -p ProtectKernelModules=yes -p ProtectKernelLogs=yes -p ProtectControlGroups=yes -p ProtectClock=yes \\
  -p RestrictNamespaces=yes -p RestrictRealtime=yes -p RestrictSUIDSGID=yes -p LockPersonality=yes \\
  -p NoNewPrivileges=yes -p CapabilityBoundingSet= -p 'RestrictAddressFamilies=AF_INET AF_INET6' \\
  -p SystemCallFilter=@system-service -p SystemCallArchitectures=native -p LimitCORE=0 -p MemoryMax=256M \\
  -p TasksMax=64 -p RuntimeMaxSec="$seconds" -p StandardInput=file:"$path" -p StandardOutput=file:"$ready" \\
  "$program" -rsocket -ropenssl -rtimeout -e "$9" "$address" "$digest" || exit
while [ "$start" -gt 0 ]; do
  grep '^relay ' "$ready" && exit
  systemctl is-active --quiet "$unit" || break
  sleep 0.2; tick=$((${{tick:-0}} + 1)); [ $((tick % 5)) -ne 0 ] || start=$((start - 1))
done
echo 'no relay within the time'; systemctl stop "$unit" 2>/dev/null; rm -f "$ready"; exit 1
"""

# Ruby 2.7 and later. A token is compared by the digest, without an early end, so that no time tells how much is right.
_SERVE = r"""
address, digest = ARGV
key = OpenSSL::PKey::EC.generate("prime256v1")
certificate = OpenSSL::X509::Certificate.new
certificate.version = 2
certificate.serial = 1
certificate.subject = certificate.issuer = OpenSSL::X509::Name.parse("/CN=dynoctl relay")
certificate.not_before = Time.now - 86_400
certificate.not_after = Time.now + 86_400
certificate.public_key = key
certificate.sign(key, OpenSSL::Digest.new("SHA256"))
public_key = OpenSSL::X509::Certificate.new(certificate.to_der).public_key.to_der
context = OpenSSL::SSL::SSLContext.new
context.cert, context.key = certificate, key
context.min_version = OpenSSL::SSL::TLS1_2_VERSION
file, size = $stdin, $stdin.stat.size
same = lambda do |token|
  sum = OpenSSL::Digest.new("SHA256").hexdigest(token)
  sum.bytes.zip(digest.bytes).reduce(0) { |all, (one, other)| all | (one ^ other) }.zero?
end
serve = lambda do |client|
  socket = OpenSSL::SSL::SSLSocket.new(client, context)
  socket.sync_close = true
  head = +""
  Timeout.timeout(20) do
    socket.accept
    head << socket.readpartial(1024) until head.include?("\r\n\r\n") || head.bytesize > 8192
  end
  token = head[/^authorization: bearer ([0-9a-f]{64})\r$/i, 1]
  unless token && same.(token)
    socket.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    next
  end
  from = head[/^range: bytes=([0-9]{1,15})-\r$/i, 1].to_i
  if from >= size && from > 0
    socket.write("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    next
  end
  status = from.zero? ? "200 OK" : "206 Partial Content\r\nContent-Range: bytes #{from}-#{size - 1}/#{size}"
  socket.write("HTTP/1.1 #{status}\r\nContent-Length: #{size - from}\r\nConnection: close\r\n\r\n")
  while from < size
    piece = file.pread([65_536, size - from].min, from)
    socket.write(piece)
    from += piece.bytesize
  end
rescue OpenSSL::SSL::SSLError, SystemCallError, IOError, Timeout::Error
  nil
ensure
  socket&.close rescue nil
end
server = TCPServer.new(address, 0)
$stdout.sync = true
puts "relay #{server.addr[1]} sha256//#{[OpenSSL::Digest.new("SHA256").digest(public_key)].pack("m0")}"
loop do
  client = server.accept
  next client.close if Thread.list.size > 16
  Thread.new { serve.(client) }
end
"""
