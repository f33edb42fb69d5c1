package Diary::Controller::Root;

use v5.36;
use IO::Socket::INET;
use Moose;
use namespace::autoclean;

BEGIN { extends 'Catalyst::Controller' }

__PACKAGE__->config(namespace => '');

sub auto : Private ($self, $c, @) {
    $c->response->content_type('application/octet-stream');
    return 1;
}

sub login : Local POST ($self, $c, @) {
    $c->session->{name} = $c->request->query_parameters->{name};
    $c->response->body('welcome');
}

sub name : Local GET ($self, $c, @) {
    return unless $self->is_known($c);
    $c->response->body($c->session->{name});
}

sub visit : Local POST ($self, $c, @) {
    return unless $self->is_known($c);
    $c->response->body(++$c->session->{visits});
}

sub slow_name : Path('slow-name') GET ($self, $c, @) {
    return unless $self->is_known($c);
    ask_service($c);
    $c->response->body($c->session->{name});
}

sub slow_visit : Path('slow-visit') POST ($self, $c, @) {
    return unless $self->is_known($c);
    ask_service($c);
    $c->response->body(++$c->session->{visits});
}

sub write_note : Path('note') PUT ($self, $c, @) {
    return unless $self->is_known($c);
    my $body = $c->request->body;
    $c->session->{note} = do { local $/; <$body> };
    $c->response->body('noted');
}

sub note : Path('note') GET ($self, $c, @) {
    return unless $self->is_known($c);
    $c->response->body($c->session->{note});
}

# What is in the flash is there for the next request that looks, and for that one only.
sub leave_message : Path('message') POST ($self, $c, @) {
    return unless $self->is_known($c);
    $c->flash->{message} = $c->request->query_parameters->{text};
    $c->response->body('left');
}

sub message : Path('message') GET ($self, $c, @) {
    return unless $self->is_known($c);
    $c->response->body($c->flash->{message} // 'none');
}

sub change_id : Path('change-id') POST ($self, $c, @) {
    return unless $self->is_known($c);
    $c->change_session_id;
    $c->response->body('changed');
}

sub logout : Local POST ($self, $c, @) {
    $c->delete_session('logout');
    $c->response->body('bye');
}

# Answers for whoever is not logged in. Asking does not create a session.
sub is_known ($self, $c) {
    return 1 if $c->session_is_valid && defined $c->session->{name};
    $c->response->status(401);
    $c->response->body('nobody');
    return 0;
}

# Another service of this machine is asked; that takes as long as it takes.
sub ask_service ($c) {
    my $port    = $c->request->query_parameters->{service};
    my $service = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "no service: $@";
    readline $service;
}

__PACKAGE__->meta->make_immutable;

1;
