-- A store as the server wrote it with version 1 of the tables. The values are made up.
CREATE TABLE forgotten (until REAL NOT NULL);
INSERT INTO "forgotten" VALUES(0.0);
CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL);
INSERT INTO "secret" VALUES('state',X'6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B');
CREATE TABLE site (
        oxd_id TEXT PRIMARY KEY, op_host TEXT NOT NULL, client_name TEXT NOT NULL,
        is_setup_client INTEGER NOT NULL, json TEXT NOT NULL);
INSERT INTO "site" VALUES('full','https://op.example.org','Jörg''s shop ☃',0,'{"oxd_id":"full","op_host":"https://op.example.org","op_discovery_path":"realms/shop","authorization_redirect_uri":"https://app.example/cb","redirect_uris":["https://app.example/other","https://app.example/cb"],"logout_redirect_uri":"https://app.example/bye","front_channel_logout_uri":["https://app.example/front"],"claims_redirect_uri":["https://app.example/claims"],"request_uris":["https://app.example/request"],"sector_identifier_uri":"https://app.example/sector","application_type":"web","response_types":["none","code id_token","code"],"grant_types":["authorization_code","refresh_token"],"scope":["openid","email"],"acr_values":["basic"],"ui_locales":["de"],"claims_locales":["fr"],"contacts":["ops@app.example"],"client_name":"Jörg''s shop ☃","trusted_client":true,"client_id":"client-1","client_secret":" made-up secret ","client_id_issued_at":1500000000000,"client_secret_expires_at":4000000000000,"client_registration_access_token":"made-up-token","client_registration_client_uri":"https://op.example.org/register/1","client_jwks_uri":"https://app.example/jwks","token_endpoint_auth_method":"client_secret_post","token_endpoint_auth_signing_alg":"RS256","id_token_signed_response_alg":"ES256","userinfo_signed_response_alg":"RS256","setup_oxd_id":"setup","setup_client_id":"client-s","user_id":"u","user_secret":"made-up-user","uma_protected_resources":[{"id":"r1","path":"/photo","http_methods":["GET"],"scopes":["view"],"ticket_scopes":["view"],"scope_expression":"{\"rule\": {\"var\": 0}, \"data\": [\"view\"]}"}],"oxd_rp_programming_language":"php","registered_metadata":"{\"client_name\":\"Shop\",\"invented\":1}"}');
INSERT INTO "site" VALUES('bare','https://op.example.org','',0,'{"oxd_id":"bare","op_host":"https://op.example.org"}');
INSERT INTO "site" VALUES('setup','https://op.example.org','Setup',1,'{"oxd_id":"setup","op_host":"https://op.example.org","client_name":"Setup","client_id":"client-s","is_setup_client":true}');
CREATE TABLE site_session (oxd_id TEXT PRIMARY KEY, json TEXT NOT NULL);
INSERT INTO "site_session" VALUES('full','{"id_token":"made.up.token","subject":"alice","pat":"made-up-pat","pat_expires_in":300}');
CREATE TABLE spent (token BLOB PRIMARY KEY, expires_at REAL NOT NULL) WITHOUT ROWID;
INSERT INTO "spent" VALUES(X'75736564',4000000000.0);
CREATE INDEX site_setup_client ON site (op_host) WHERE is_setup_client;
CREATE INDEX spent_expires_at ON spent (expires_at);
PRAGMA application_id = 1870160929;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
