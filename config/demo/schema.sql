-- The sample business schema of the demo: customers, their projects, what was booked on them, and what happened.
-- Everything is ordinary MySQL 8.0. Where a table is partitioned, its primary key contains the partition column and
-- no foreign key touches it. The fact table carries the project's type and status as they were when the row was booked,
-- as ledgers do, so that its dashboards need no join.

CREATE TABLE customers (
  customer_id   INT UNSIGNED NOT NULL AUTO_INCREMENT,
  name          VARCHAR(80)  NOT NULL,
  segment       ENUM('ENTERPRISE', 'MIDMARKET', 'SMALL') NOT NULL,
  country_code  CHAR(2)      NOT NULL,
  created_at    DATETIME     NOT NULL,
  PRIMARY KEY (customer_id)
);

CREATE TABLE projects (
  project_id    INT UNSIGNED NOT NULL AUTO_INCREMENT,
  customer_id   INT UNSIGNED NOT NULL,
  name          VARCHAR(80)  NOT NULL,
  project_type  ENUM('FIXED_PRICE', 'TIME_AND_MATERIAL', 'RETAINER') NOT NULL,
  status        ENUM('ACTIVE', 'ON_HOLD', 'CLOSED') NOT NULL,
  budget        DECIMAL(15,2) NOT NULL,
  started_on    DATE         NOT NULL,
  changes       INT UNSIGNED NOT NULL DEFAULT 0,
  PRIMARY KEY (project_id),
  KEY projects_of_customer (customer_id),
  CONSTRAINT project_has_customer FOREIGN KEY (customer_id) REFERENCES customers (customer_id)
);

CREATE TABLE financial_transactions (
  transaction_id   BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  project_id       INT UNSIGNED    NOT NULL,
  transaction_type ENUM('INVOICE', 'PAYMENT', 'COST', 'ADJUSTMENT') NOT NULL,
  amount           DECIMAL(15,2)   NOT NULL,
  transaction_date DATE            NOT NULL,
  status           ENUM('DRAFT', 'APPROVED', 'SETTLED', 'CANCELLED') NOT NULL,
  currency_code    CHAR(3) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
  project_type     ENUM('FIXED_PRICE', 'TIME_AND_MATERIAL', 'RETAINER') NOT NULL,
  project_status   ENUM('ACTIVE', 'ON_HOLD', 'CLOSED') NOT NULL,
  reference        VARCHAR(24)     NOT NULL,
  created_at       TIMESTAMP       NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (transaction_id),
  KEY transactions_of_project (project_id, transaction_date)
);

CREATE TABLE business_events (
  event_id     BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  event_date   DATE            NOT NULL,
  project_id   INT UNSIGNED    NOT NULL,
  event_type   ENUM('CREATED', 'REVIEWED', 'APPROVED', 'REJECTED', 'COMMENTED') NOT NULL,
  note         VARCHAR(120)    NOT NULL,
  PRIMARY KEY (event_id, event_date),
  KEY events_of_project (project_id, event_date)
)
PARTITION BY RANGE COLUMNS (event_date) (
  PARTITION p2023 VALUES LESS THAN ('2024-01-01'),
  PARTITION p2024 VALUES LESS THAN ('2025-01-01'),
  PARTITION p2025 VALUES LESS THAN ('2026-01-01'),
  PARTITION later VALUES LESS THAN (MAXVALUE)
);

-- A row for each number from 0 to 999: the generator multiplies it by itself.
CREATE TABLE thousand (n INT UNSIGNED NOT NULL PRIMARY KEY);
INSERT INTO thousand
  WITH RECURSIVE count (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM count WHERE n < 999)
  SELECT n FROM count;
