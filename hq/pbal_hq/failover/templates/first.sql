-- Run once by Patroni as the superuser, when the cluster begins.
CREATE ROLE $database LOGIN;
CREATE DATABASE $database OWNER $database;
