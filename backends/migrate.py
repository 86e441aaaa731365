from .tables import metadata
from sqlalchemy import text
def check(e): pass
def current(e): return 'x'
def head(): return 'x'
def upgrade(e):
    metadata.create_all(e)
    with e.begin() as c:
        if e.dialect.name=='sqlite':
            c.execute(text("create trigger if not exists jobqueue_count_created after insert on indexing_jobs begin insert into jobqueue_count_deltas(program_id,counter,change) values (new.program_id,'created',1); end"))
        else:
            c.execute(text("""create or replace function jobqueue_inserted() returns trigger language plpgsql as $$ begin insert into jobqueue_count_deltas(program_id,counter,change) select program_id,'created',count(*) from fresh group by 1; perform pg_notify('jobqueue_'||tg_table_schema,(select count(*) from fresh)::text); return null; end $$"""))
            c.execute(text("create or replace trigger jobqueue_inserted after insert on indexing_jobs referencing new table as fresh for each statement execute function jobqueue_inserted()"))
