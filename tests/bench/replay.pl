# The forced command of a replayed server: answers a script that dynoctl sends with what a real server answered to the
# same one, with the nonce, address, name and dynos of this one filled in. All else is answered with nothing.
use strict;
use Digest::MD5 'md5_hex';
use Digest::SHA 'sha256_hex';

my $directory = shift;
my $script = do { local $/; <STDIN> } // '';
my ($nonce) = $script =~ /^nonce=([0-9a-f]+)$/m or exit 0;
my $kind = md5_hex(join ' ', $script =~ /begin (\w+)\\n/g);
open my $file, '<', "$directory/$kind" or exit 0;
my $answer = do { local $/; <$file> };
my $address = (split ' ', $ENV{SSH_CONNECTION})[2];
my @bytes = split /\./, $address;
my $number = $bytes[2] * 250 + $bytes[3] - 1;
my $machine = md5_hex($address);
my $hex = sprintf '%02X%02X%02X%02X', reverse @bytes;
$answer =~ s/web(\.|-|\\x2d)([1-4])\b/"web$1" . (4 * $number + $2)/ge;
$answer =~ s/\@NONCE\@/$nonce/g;
$answer =~ s/\@MACHINE\@/$machine/g;
$answer =~ s/\@ADDRESS\@/$address/g;
$answer =~ s/\@HEX\@/$hex/g;
$answer =~ s/\@NAME\@/n$number/g;
if (open my $meta, '<', "$directory/meta") {
  my $text = do { local $/; <$meta> };
  my $digest = sha256_hex($text =~ /\n\z/ ? $text : "$text\n");
  $text = "=$digest" if $script =~ /^known=.*\b$digest\b/m;
  $answer =~ s/\@META\@/$text/;
}
$| = 1;
print $answer;
