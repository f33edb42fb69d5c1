# The application in this very process, asked without a network of its own; see ../talk.
use v5.36;

use Diary;
use HTTP::Request;
use Plack::Test;

my $app = Plack::Test->create(Diary->psgi_app);
my %cookies;
STDOUT->autoflush;
while (defined(my $line = <STDIN>)) {
    my ($what, $name, $text) = split ' ', $line;
    my ($method, $path) = $what eq 'write' ? ('POST', "/login?name=$text") : ('GET', '/name');
    my @headers = map { (Cookie => $_) } $cookies{$name} // ();
    # A web server catches what the application dies of.
    my $reply = eval { $app->request(HTTP::Request->new($method, "http://localhost$path", \@headers)) };
    say $reply ? answer($what, $name, $reply) : 'error ' . $@ =~ s/\s+/ /gr;
}

sub answer ($what, $name, $reply) {
    my $set = $reply->header('set-cookie');
    $cookies{$name} = $set =~ s/;.*//sr if defined $set;
    my $code = $reply->code;
    return $code == 401 ? 'nothing' : $code != 200 ? "error $code" : $what eq 'write' ? 'ok' : 'value ' . $reply->content;
}
