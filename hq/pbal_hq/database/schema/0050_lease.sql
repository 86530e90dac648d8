-- Which process runs a role that several are there for (pbal_hq.database.lease).
CREATE TABLE role_lease (
    role text PRIMARY KEY,
    holder text NOT NULL,
    until timestamptz NOT NULL
);
