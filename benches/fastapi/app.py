"""The ticket API on FastAPI, SQLAlchemy and SQLite, as their tutorials build it.

It has the routes and the JSON of the ticket server: to create, list and read concerts, to buy
tickets, and to read and refund purchases. A purchase is one transaction that takes stock with a
conditional UPDATE. Like the ticket server's, an acknowledged purchase is on disk (WAL and
`synchronous=FULL`). `prometheus-fastapi-instrumentator` records the requests.
"""

import os
import re
import uuid
from datetime import datetime, timezone
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Response
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, create_engine, event
from sqlalchemy import select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine(os.environ.get("DATABASE_URL", "sqlite:///fastapi.db"))


@event.listens_for(engine, "connect")
def set_pragmas(connection, _):
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


class Base(DeclarativeBase):
    pass


class ConcertRow(Base):
    __tablename__ = "concerts"
    __table_args__ = (CheckConstraint("sold <= capacity"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    venue: Mapped[str]
    starts_at: Mapped[str]
    capacity: Mapped[int]
    amount: Mapped[int]
    currency: Mapped[str]
    sold: Mapped[int] = mapped_column(default=0)


class PurchaseRow(Base):
    __tablename__ = "purchases"
    __table_args__ = (UniqueConstraint("concert_id", "idempotency_key"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    concert_id: Mapped[str] = mapped_column(ForeignKey("concerts.id"))
    buyer: Mapped[str]
    quantity: Mapped[int]
    amount: Mapped[int]
    currency: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[str]
    idempotency_key: Mapped[str | None]


class Money(BaseModel):
    amount: int = Field(ge=0, le=100_000_000)
    currency: str = Field(pattern="^[A-Z]{3}$")


class NewConcert(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str = Field(min_length=1, max_length=200)
    venue: str = Field(min_length=1, max_length=200)
    starts_at: datetime
    capacity: int = Field(ge=1, le=10_000_000)
    price: Money


class Concert(BaseModel):
    id: str
    slug: str
    title: str
    venue: str
    starts_at: str
    capacity: int
    price: Money
    max_per_buyer: int | None = None
    sold: int
    available: int

    @classmethod
    def of(cls, row: ConcertRow) -> "Concert":
        return cls(
            id=row.id,
            slug=row.slug,
            title=row.title,
            venue=row.venue,
            starts_at=row.starts_at,
            capacity=row.capacity,
            price=Money(amount=row.amount, currency=row.currency),
            sold=row.sold,
            available=row.capacity - row.sold,
        )


class Page(BaseModel):
    items: list[Concert]
    next_cursor: str | None


class NewPurchase(BaseModel):
    model_config = ConfigDict(extra="forbid")

    buyer: str = Field(min_length=1, max_length=200)
    quantity: int = Field(ge=1, le=10)


class Purchase(BaseModel):
    id: str
    concert_id: str
    buyer: str
    quantity: int
    total: Money
    status: str
    created_at: str

    @classmethod
    def of(cls, row: PurchaseRow) -> "Purchase":
        return cls(
            id=row.id,
            concert_id=row.concert_id,
            buyer=row.buyer,
            quantity=row.quantity,
            total=Money(amount=row.amount, currency=row.currency),
            status=row.status,
            created_at=row.created_at,
        )


def session():
    with Session(engine) as session:
        yield session


Database = Annotated[Session, Depends(session)]

app = FastAPI()
Instrumentator().instrument(app).expose(app)
Base.metadata.create_all(engine)


@app.post("/concerts", status_code=201)
def create_concert(new: NewConcert, database: Database) -> Concert:
    row = ConcertRow(
        id=str(uuid.uuid4()),
        slug=f"{re.sub('[^a-z0-9]+', '-', new.title.lower())}-{uuid.uuid4().hex[:6]}",
        title=new.title,
        venue=new.venue,
        starts_at=new.starts_at.isoformat(),
        capacity=new.capacity,
        amount=new.price.amount,
        currency=new.price.currency,
    )
    database.add(row)
    database.commit()
    return Concert.of(row)


@app.get("/concerts")
def list_concerts(database: Database, limit: int = 20, cursor: str = "") -> Page:
    query = select(ConcertRow).where(ConcertRow.id > cursor).order_by(ConcertRow.id)
    rows = database.scalars(query.limit(limit + 1)).all()
    more = len(rows) > limit
    items = [Concert.of(row) for row in rows[:limit]]
    return Page(items=items, next_cursor=items[-1].id if more else None)


@app.get("/concerts/{concert_id}")
def read_concert(concert_id: str, database: Database) -> Concert:
    row = database.get(ConcertRow, concert_id)
    if row is None:
        raise HTTPException(404, "concert not found")
    return Concert.of(row)


@app.post("/concerts/{concert_id}/purchases", status_code=201)
def buy(
    concert_id: str,
    new: NewPurchase,
    database: Database,
    response: Response,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Purchase:
    concert = database.get(ConcertRow, concert_id)
    if concert is None:
        raise HTTPException(404, "concert not found")
    if idempotency_key is not None:
        query = select(PurchaseRow).where(
            PurchaseRow.concert_id == concert_id, PurchaseRow.idempotency_key == idempotency_key
        )
        earlier = database.scalars(query).first()
        if earlier is not None:
            response.headers["Idempotency-Replayed"] = "true"
            return Purchase.of(earlier)
    taken = database.execute(
        update(ConcertRow)
        .where(ConcertRow.id == concert_id, ConcertRow.sold + new.quantity <= ConcertRow.capacity)
        .values(sold=ConcertRow.sold + new.quantity)
        .execution_options(synchronize_session=False)
    )
    if taken.rowcount == 0:
        raise HTTPException(409, "sold out")
    row = PurchaseRow(
        id=str(uuid.uuid4()),
        concert_id=concert_id,
        buyer=new.buyer,
        quantity=new.quantity,
        amount=concert.amount * new.quantity,
        currency=concert.currency,
        status="paid",
        created_at=datetime.now(timezone.utc).isoformat(),
        idempotency_key=idempotency_key,
    )
    database.add(row)
    database.commit()
    response.headers["Location"] = f"/purchases/{row.id}"
    return Purchase.of(row)


@app.get("/purchases/{purchase_id}")
def read_purchase(purchase_id: str, database: Database) -> Purchase:
    row = database.get(PurchaseRow, purchase_id)
    if row is None:
        raise HTTPException(404, "purchase not found")
    return Purchase.of(row)


@app.delete("/purchases/{purchase_id}")
def refund(purchase_id: str, database: Database) -> Purchase:
    row = database.get(PurchaseRow, purchase_id)
    if row is None:
        raise HTTPException(404, "purchase not found")
    if row.status == "paid":
        row.status = "refunded"
        database.execute(
            update(ConcertRow)
            .where(ConcertRow.id == row.concert_id)
            .values(sold=ConcertRow.sold - row.quantity)
        )
        database.commit()
    return Purchase.of(row)
