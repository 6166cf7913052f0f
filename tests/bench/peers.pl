# The forced command of a server that Ansible and pyinfra work on: it does what they ask on this machine, in a home of
# its own, and answers for the module "ping" itself, as a Python for each server would only take time from the client.
use strict;

my $home = shift;
my $command = $ENV{SSH_ORIGINAL_COMMAND} // '';
$ENV{HOME} = $home;
chdir $home;
if ($command =~ /AnsiballZ_ping\.py/ && $command =~ /python/ && $command !~ /chmod|mkdir/) {
  print qq({"changed": false, "invocation": {"module_args": {"data": "pong"}}, "ping": "pong"}\n);
  exit 0;
}
exec '/usr/lib/openssh/sftp-server' if $command =~ /sftp/ && $command !~ /\s/;
exec '/bin/sh', '-c', $command;
