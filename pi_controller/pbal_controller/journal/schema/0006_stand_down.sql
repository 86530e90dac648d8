-- 0006: why this controller commands nothing until a person decides (pbal-controller adopt).
CREATE TABLE stand_down (
    reason       TEXT    NOT NULL,         -- see standing.Reason
    since_s      REAL    NOT NULL,
    detail       TEXT    NOT NULL,
    lifted_s     REAL                      -- when a person decided; NULL while it holds
);
