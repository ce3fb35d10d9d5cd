-- Customers, projects and what happened on them: small tables, made from their row numbers like the fact table.
INSERT INTO customers
  SELECT n + 1, CONCAT('Customer ', n + 1), ELT(1 + n % 10 DIV 3, 'ENTERPRISE', 'MIDMARKET', 'SMALL', 'SMALL'),
    ELT(1 + n % 7, 'DE', 'US', 'GB', 'CH', 'JP', 'SE', 'PL'), '2022-06-01' + INTERVAL n HOUR
  FROM thousand WHERE n < 400;

INSERT INTO projects
  SELECT n + 1, 1 + n * 7 % 400, CONCAT('Project ', n + 1), ELT(1 + (n + 1) % 3, 'RETAINER', 'FIXED_PRICE', 'TIME_AND_MATERIAL'),
    ELT(1 + n % 5 DIV 3 + n % 5 DIV 4, 'ACTIVE', 'ON_HOLD', 'CLOSED'), 10000 + n * 37 % 900 * 1000, '2022-12-01' + INTERVAL n % 700 DAY, 0
  FROM (SELECT high.n * 1000 + low.n AS n FROM thousand high JOIN thousand low WHERE high.n < 2) numbers;

INSERT INTO business_events (event_date, project_id, event_type, note)
  SELECT '2023-01-02' + INTERVAL n * 31 % 1092 DAY, 1 + n * 13 % 2000,
    ELT(1 + n % 5, 'CREATED', 'REVIEWED', 'APPROVED', 'REJECTED', 'COMMENTED'), CONCAT('Event number ', n + 1)
  FROM (SELECT high.n * 1000 + low.n AS n FROM thousand high JOIN thousand low WHERE high.n < 20) numbers;
