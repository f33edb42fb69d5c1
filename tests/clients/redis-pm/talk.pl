# Perl's Redis client, see ../talk.
use v5.36;

use Redis;

my $redis;
STDOUT->autoflush;
while (defined(my $line = <STDIN>)) {
    my ($what, $name, $text) = split ' ', $line;
    my $answer = eval {
        $redis //= Redis->new(server => "$ENV{REDIS_HOST}:$ENV{REDIS_PORT}", reconnect => $ENV{REDIS_RECONNECT} // 0);
        if ($what eq 'write') {
            $redis->setex("session:$name", 3600, $text);
            'ok';
        }
        else {
            my $value = $redis->get("session:$name");
            defined $value ? "value $value" : 'nothing';
        }
    };
    say $answer // 'error ' . $@ =~ s/\s+/ /gr;
}
