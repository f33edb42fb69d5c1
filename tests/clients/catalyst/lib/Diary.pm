package Diary;

# A web application with its sessions in Redis, and nothing in it that knows of a proxy.
use v5.36;
use Moose;
use namespace::autoclean;

use Catalyst qw(
    Session
    Session::Store::Redis
    Session::State::Cookie
);

extends 'Catalyst';

__PACKAGE__->config(
    name              => 'Diary',
    'Plugin::Session' => {
        redis_server => "$ENV{REDIS_HOST}:$ENV{REDIS_PORT}",
        (defined $ENV{SESSION_EXPIRES} ? (expires => $ENV{SESSION_EXPIRES}) : ()),
        (defined $ENV{REDIS_RECONNECT} ? (redis_reconnect => $ENV{REDIS_RECONNECT}) : ()),
    },
);
# The store's debug lines hold session ids.
__PACKAGE__->log(Catalyst::Log->new(qw(warn error fatal)));
__PACKAGE__->setup;

1;
